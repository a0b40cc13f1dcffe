"""The one way to a server: pending revisions become batches, batches become ansible-runner runs."""
