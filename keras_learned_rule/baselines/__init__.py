"""What a learned rule is compared with."""
