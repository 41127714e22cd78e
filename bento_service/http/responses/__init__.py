"""What an answer is made of: messages of the contract, problems, OpenAPI."""
