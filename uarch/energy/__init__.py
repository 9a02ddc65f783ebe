"""From event counts to joules: energy tables, the price of each event of a chip, the account of a kernel."""
