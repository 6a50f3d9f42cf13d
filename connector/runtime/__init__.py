"""What turns the parts into running programs: signals, logging, services, status, the demo."""
