"""What a judge needs: the answers it has not judged, the words it is asked in, the way to it."""
