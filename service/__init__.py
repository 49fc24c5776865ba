"""The online half of Facebridge: translates, verifies and identifies over HTTP. Never imports torch."""
