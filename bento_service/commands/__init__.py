"""What each subcommand of `lightbox` does. Imported only as it runs, so that `lightbox --help` stays quick."""
