"""How we learn: phases, recipes and schedules."""
