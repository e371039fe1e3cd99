"""``chatd completion``: completion of commands and options in a shell."""

from typing import Annotated, Literal

from cyclopts import App, Parameter

from chatd.cli.output import echo

app = App(
    name="completion",
    help_epilogue="""Examples:
  chatd completion bash > ~/.local/share/bash-completion/completions/chatd
  chatd completion zsh > ~/.zfunc/_chatd          (a folder of your $fpath)
  chatd completion fish > ~/.config/fish/completions/chatd.fish
  source <(chatd completion bash)                 (for this shell only)""",
)


@app.default
def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(help="Your shell.")], /
) -> None:
    """Print the completion script for a shell."""
    from chatd.cli.main import app as chatd

    echo(chatd.generate_completion(shell=shell))
