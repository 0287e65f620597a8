"""What clients ask and what they get: requests, prompts, commands, results. No torch."""
