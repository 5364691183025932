"""Running a network: devices, features, prediction and evaluation."""
