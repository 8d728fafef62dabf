"""Files and batches in OpenAI's shapes, over durable jobs: each line of a file is a request through the route that it names."""
