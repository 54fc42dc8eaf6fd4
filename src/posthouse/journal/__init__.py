"""The only code that makes things durable: segments, marks, barriers, body files, and their disk (DURABILITY 2, 3)."""
