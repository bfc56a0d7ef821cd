"""What hangs at the door beside the bolt: buzzer, LED and alarm, keypad, switches and buttons."""
