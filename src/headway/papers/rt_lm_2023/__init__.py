"""Li, Li, Yang and Liu 2023 (RT-LM, arXiv 2309.06619): its claims, tried in its setting."""
