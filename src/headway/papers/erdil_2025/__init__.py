"""The published model of "Inference economics of language models" (Erdil 2025), quirks included.

The paper is arXiv 2506.04645. What is modelled here is what its published program of 27 May 2025
computes, which differs from the printed equations in places; every such place is named where it
occurs. Written from the paper and from figures that the program gave, not from its code.
"""
