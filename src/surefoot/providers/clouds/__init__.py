"""Models on Vertex AI and Amazon Bedrock: the vendors' own bodies, at the clouds' addresses and with their tokens or signatures."""
