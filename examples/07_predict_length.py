"""How long will the answer be? What the prompt alone says, and what the first tokens add."""

import headway as hw

for prompt in ("What is the capital of Peru?", "Write a story about a lighthouse keeper."):
    prediction = hw.predict(prompt)
    low, middle, high = (prediction.at(level) for level in (0.1, 0.5, 0.9))
    print(f"{prompt}\n  10% {low:.0f}, 50% {middle:.0f}, 90% {high:.0f} tokens")

story = hw.predict("Write a story about a lighthouse keeper.", written_tokens=600)
print(f"after 600 tokens of the story: 50% {story.at(0.5):.0f} in all")

chat = [
    {"role": "user", "content": "Who wrote Dune?"},
    {"role": "assistant", "content": "Frank Herbert."},
    {"role": "user", "content": "List all of his novels, with a paragraph on each."},
]
print(f"the next turn of a chat: 50% {hw.predict(chat).at(0.5):.0f} tokens")
