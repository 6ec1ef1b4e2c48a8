"""What pytest checks in a reader's own scripts (`--mine=FOLDER`), and in ours."""
