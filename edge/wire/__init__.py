"""The wire: generated stubs in `v1`, what may cross it in `limits`, values to messages and back in `convert`."""
