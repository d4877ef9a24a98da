"""The baseline, with timm and torch alone: python benchmarks/plain.py PHOTOS WEIGHTS.safetensors EPOCHS SEED OUT"""

import csv
import json
import sys
from pathlib import Path

import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.metrics import average_precision_score
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

folder, weights, epochs, seed, out = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
torch.manual_seed(seed)
rows = list(csv.DictReader(Path(folder, "labels.csv").read_text(encoding="utf-8").splitlines()))
classes = sorted({name for row in rows for name in row["labels"].split("|")})
model = timm.create_model("mobilenetv2_100", num_classes=0).to(memory_format=torch.channels_last)
model.load_state_dict(load_file(weights))
model.classifier = torch.nn.Linear(1280, len(classes))  # timm's own first weights cost ten points in three epochs
normalize = v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
to_input = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), normalize])
crop, jitter = v2.RandomResizedCrop(96, (0.5, 1)), v2.ColorJitter(0.2, 0.2)
train_view = v2.Compose([crop, v2.RandomHorizontalFlip(), jitter, to_input])
test_view = v2.Compose([v2.Resize((96, 96)), to_input])


class Photos(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    def __init__(self, split: str, view: v2.Compose) -> None:
        self.rows, self.view = [row for row in rows if row["split"] == split], view

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = self.rows[index]["labels"].split("|")
        image = Image.open(Path(folder, self.rows[index]["image"])).convert("RGB")
        return self.view(image), torch.tensor([float(name in labels) for name in classes])


train = DataLoader(Photos("train", train_view), 32, shuffle=True, drop_last=True)
val = DataLoader(Photos("val", test_view), 64)
*body, weight, bias = model.parameters()  # the last two are the classifier's
optimizer = torch.optim.AdamW([{"params": body}, {"params": [weight, bias]}], weight_decay=0.01)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [6e-4, 2e-3], epochs * len(train), pct_start=0.2)
for images, targets in (batch for _ in range(epochs) for batch in train):
    torch.autograd.backward(torch.nn.functional.binary_cross_entropy_with_logits(model(images), targets))
    optimizer.step()
    optimizer.zero_grad()
    schedule.step()
with torch.inference_mode():
    model.eval()
    labels, logits = torch.cat([y for _, y in val]), torch.cat([model(x) for x, _ in val])
seen = labels.any(0)
scores = {"classes": classes, "map_percent": 100 * average_precision_score(labels[:, seen], logits[:, seen])}
Path(out).mkdir(parents=True, exist_ok=True)
save_file(model.to(memory_format=torch.contiguous_format).state_dict(), f"{out}/model.safetensors")
Path(out, "scores.json").write_text(json.dumps(scores), encoding="utf-8")
