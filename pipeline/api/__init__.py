"""What clients send and what they get: requests, prompts, commands, results. No torch."""
