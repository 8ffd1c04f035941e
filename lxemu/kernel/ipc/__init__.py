"""Interprocess communication: System V shared memory, semaphores and messages; message queues."""
