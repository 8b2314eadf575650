"""The milliseconds behind the first stage: a sentence encoder, and several opinions made one."""
