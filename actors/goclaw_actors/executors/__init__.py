"""Where user code runs: agents, their context, and the executors that call them."""
