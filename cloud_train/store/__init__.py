"""What the server keeps: pictures as files, everything else in a database."""
