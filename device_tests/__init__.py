"""Checks that run on the device under test; they need what the device has, and nothing more.

    python -m device_tests --device local [--bundle FOLDER_OR_ARCHIVE ...]
    pytest device_tests --device local [--bundle FOLDER_OR_ARCHIVE ...]

Both run the same checks (`device_tests.checks`): preprocessing gives the committed pictures' tensors to the bit, and
every bundle gives its golden vectors with every runtime that is installed.
"""
