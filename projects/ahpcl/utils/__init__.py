"""Small things that several wings share: ranks, progress, files, states."""
