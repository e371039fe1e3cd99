import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// Requests for chatd go through the page's own origin, as a reverse proxy would have it.
export default defineConfig({
  plugins: [react()],
  server: { proxy: { "/ai": { target: process.env.CHATD_URL ?? "http://127.0.0.1:8080", changeOrigin: false } } },
});
