"""How long will the answer be? The default predictor, and what it learns from finished requests."""

from headway.predict import uncertainty_scores
from headway.predict.storage import default_predictor
from headway.workload.request import Request


def request(number: int, prompt: str) -> Request:
    return Request(str(number), 0.0, prompt, prompt_tokens=12, model="ours")


prompts = ["What is the capital of Peru?", "Write a story about a lighthouse keeper."]
predictor = default_predictor()
for prompt, found in zip(
    prompts, predictor.predict([request(i, p) for i, p in enumerate(prompts)]), strict=True
):
    low, middle, high = (found.at(level) for level in (0.1, 0.5, 0.9))
    print(f"{prompt}\n  10% {low:.0f}, 50% {middle:.0f}, 90% {high:.0f} tokens")

story = predictor.predict([request(2, prompts[1])])[0]
print(f"after 600 tokens of the story: 50% {story.given_at_least(600).at(0.5):.0f} in all")

# This model answers in a few words, whatever it is asked.
for number in range(100):
    predictor.observe(
        request(10 + number, f"Write a story about number {number}."), 40 + number % 9
    )
learned = predictor.predict([request(3, prompts[1])])[0]
print(f"after 100 finished requests: 50% {learned.at(0.5):.0f}, 90% {learned.at(0.9):.0f} tokens")

print(f"open-endedness of the two: {[uncertainty_scores(p).open_ended for p in prompts]}")
