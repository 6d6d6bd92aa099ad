"""Dense embeddings: one vector of floats a text, as its model's makers make it. What sparse ones are compared with and
learn from.
"""
