"""Database URLs as providers of PostgreSQL hand them out in their documentation, with other names."""

SECRET = "npg_qUaIl7HaRbOr"
"""The password of every URL."""
AUTHORITY = "AUTHORITY.PEM"
"""Stands for the file of the provider's certificate authority."""

PROVIDER_URLS = {
    "Neon, direct": f"postgresql://alex:{SECRET}@ep-cool-darkness-a1b2c3d4.us-east-2.aws.neon.tech/neondb"
    "?sslmode=require&channel_binding=require",
    "Neon, pooled": f"postgresql://alex:{SECRET}@ep-cool-darkness-a1b2c3d4-pooler.us-east-2.aws.neon.tech"
    "/neondb?sslmode=require&channel_binding=require",
    "Neon, without SNI": f"postgresql://alex:{SECRET}@ep-cool-darkness-a1b2c3d4.us-east-2.aws.neon.tech/neondb"
    "?sslmode=require&options=endpoint%3Dep-cool-darkness-a1b2c3d4",
    "Supabase, direct": f"postgresql://postgres:{SECRET}@db.abcdefghijklmnop.supabase.co:5432/postgres",
    "Supabase, session pooler": f"postgres://postgres.abcdefghijklmnop:{SECRET}"
    "@aws-0-eu-central-1.pooler.supabase.com:5432/postgres",
    "Supabase, transaction pooler": f"postgresql://postgres.abcdefghijklmnop:{SECRET}"
    "@aws-0-eu-central-1.pooler.supabase.com:6543/postgres",
    "Supabase, for Prisma": f"postgresql://postgres.abcdefghijklmnop:{SECRET}"
    "@aws-0-eu-central-1.pooler.supabase.com:6543/postgres?pgbouncer=true&connection_limit=1",
    "Supabase, by Vercel": f"postgres://postgres.abcdefghijklmnop:{SECRET}"
    "@aws-0-us-east-1.pooler.supabase.com:6543/postgres?sslmode=require&supa=base-pooler.x",
    "RDS": f"postgres://admin:{SECRET}@db.c9akciq32.eu-west-1.rds.amazonaws.com:5432/chatd"
    "?sslmode=require&sslrootcert=AUTHORITY.PEM",
    "RDS, verified": f"postgres://admin:{SECRET}@db.c9akciq32.eu-west-1.rds.amazonaws.com/chatd"
    "?sslmode=verify-full&sslrootcert=AUTHORITY.PEM",
    "Azure": f"postgres://adminuser:{SECRET}@name.postgres.database.azure.com/postgres?sslmode=require",
    "Azure, PgBouncer": f"postgresql://adminuser:{SECRET}@name.postgres.database.azure.com:6432/postgres"
    "?sslmode=require",
    "Azure, Entra user": f"postgresql://me%40contoso.com:{SECRET}@name.postgres.database.azure.com/postgres"
    "?sslmode=verify-full&sslrootcert=system",
    "Cloud SQL, socket": f"postgresql://chatd:{SECRET}@/chatd?host=/cloudsql/project:europe-west1:instance",
    "Cloud SQL, socket in the host": f"postgresql://chatd:{SECRET}"
    "@%2Fcloudsql%2Fproject%3Aeurope-west1%3Ainstance/chatd",
    "Cloud SQL, proxy": f"postgresql://chatd:{SECRET}@127.0.0.1:5432/chatd?sslmode=disable",
    "Heroku": f"postgres://u8bq2l:{SECRET}@ec2-54-225-92-1.compute-1.amazonaws.com:5432/d6fe43u3livkhu",
    "DigitalOcean": f"postgresql://doadmin:{SECRET}@db-postgresql-fra1-1-do-user-1-0.b.db.ondigitalocean.com"
    ":25060/defaultdb?sslmode=require",
    "DigitalOcean, pool": f"postgresql://doadmin:{SECRET}@db-postgresql-fra1-1-do-user-1-0.b.db."
    "ondigitalocean.com:25061/pool-01?sslmode=require",
    "Fly, pooled": f"postgresql://fly-user:{SECRET}@pgbouncer.mz4d9k1n.flympg.net/fly-db",
    "Fly, direct": f"postgresql://fly-user:{SECRET}@direct.mz4d9k1n.flympg.net/fly-db",
    "Fly, unmanaged": f"postgres://app:{SECRET}@app-db.flycast:5432/app?sslmode=disable",
    "Render": f"postgresql://chatd_user:{SECRET}@dpg-cf1a-a.oregon-postgres.render.com/chatd_x1y2",
    "Railway": f"postgresql://postgres:{SECRET}@postgres.railway.internal:5432/railway",
    "Railway, public": f"postgresql://postgres:{SECRET}@monorail.proxy.rlwy.net:51234/railway",
    "Aiven": f"postgres://avnadmin:{SECRET}@pg-1a2b3c-project.aivencloud.com:13039/defaultdb?sslmode=require",
    "Aiven, verified": f"postgres://avnadmin:{SECRET}@pg-1a2b3c-project.aivencloud.com:13039/defaultdb"
    "?sslmode=verify-ca&sslrootcert=AUTHORITY.PEM",
    "Sliplane": f"postgres://jonas:{SECRET}@db-1.sliplane.app:1234/mydb?sslmode=verify-full&sslrootcert=system",
    "CloudNativePG": f"postgresql://app:{SECRET}@cluster-rw.default:5432/app",
}  # fmt: skip
