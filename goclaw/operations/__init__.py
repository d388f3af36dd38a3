"""What can be asked of an engine: commands, questions and subscriptions, whatever carries them."""
