"""Bad input on the wire: whatever comes, the answer is a refusal or a closed connection, in time, and nothing else changes."""
