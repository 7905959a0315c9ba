"""A plain message-API ClientApp: logistic regression on a share of scikit-learn's digits, in torch."""

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy

app = ClientApp()


def load(context: Context) -> tuple[torch.Tensor, torch.Tensor]:
    """Return every K-th image; the first client has more of them."""
    images, labels = load_digits(return_X_y=True)
    index, count = int(context.node_config["partition-id"]), int(context.node_config["num-partitions"])
    step = slice(index, 200 * (count - index), count)
    return torch.tensor(images[step] / 16, dtype=torch.float32), torch.tensor(labels[step])


def model(message: Message) -> torch.nn.Linear:
    """Return the network that has come."""
    network = torch.nn.Linear(64, 10)
    network.load_state_dict(message.content["arrays"].to_torch_state_dict())
    return network


@app.query()
def query(message: Message, context: Context) -> Message:
    """Say which client this is, and how its labels are distributed."""
    _, labels = load(context)
    even = float((labels % 2 == 0).float().mean())
    about = {"partition-id": int(context.node_config["partition-id"]), "pmf/even": even, "pmf/odd": 1 - even}
    return Message(RecordDict({"node": ConfigRecord(about)}), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Take five steps of gradient descent."""
    network, (images, labels) = model(message), load(context)
    optimizer = torch.optim.SGD(network.parameters(), lr=float(message.content["config"].get("lr", 0.5)))
    for _ in range(5):
        optimizer.zero_grad()
        loss = cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
    metrics = MetricRecord({"train_loss": loss.item(), "num-examples": len(labels)})
    return Message(RecordDict({"arrays": ArrayRecord(network.state_dict()), "metrics": metrics}), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Count what is right."""
    network, (images, labels) = model(message), load(context)
    right = (network(images).argmax(1) == labels).float().mean().item()
    return Message(
        RecordDict({"metrics": MetricRecord({"accuracy": right, "num-examples": len(labels)})}), reply_to=message
    )
