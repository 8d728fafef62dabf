"""What a call goes through: the stack of layers, streams, deadlines."""
