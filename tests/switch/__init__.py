"""Sessions, sync and the osken-manager command, against fake and real switches."""
