"""Real servers to test on: Debian 12 with systemd and sshd in containers. Standard library only."""
