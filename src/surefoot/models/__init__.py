"""ChatModel and EmbedModel: what users say becomes a request, targets become a stack."""
