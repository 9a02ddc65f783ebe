"""What a user asks for besides chip and model: phase, masks, contexts, expert load, software stack."""
