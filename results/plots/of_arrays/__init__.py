"""Pictures of plain numbers, drawn by the commands that compute them."""
