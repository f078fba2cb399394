"""Checks that run on the device under test; they need what the device has, and nothing more.

    python -m device_tests [--device local|arm64|ssh:HOST] [--bundle FOLDER_OR_ARCHIVE ...] [--json FILE]
    python -m device_tests compare A.json B.json
    pytest device_tests [--device local|arm64|ssh:HOST] [--bundle FOLDER_OR_ARCHIVE ...]

Both run the same groups of checks (`device_tests.groups`): preprocessing gives the committed pictures' tensors to the
bit, every bundle gives its golden vectors with every runtime that is installed, how long an answer takes, how much
memory it needs, and what the device makes of faults. `device_tests.arm64` runs them on an emulated board,
`device_tests.ssh` on a real one. How to read the results: docs/devices.md.
"""
