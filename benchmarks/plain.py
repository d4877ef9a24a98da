"""The baseline, with timm and torch alone: python benchmarks/plain.py PHOTOS WEIGHTS EPOCHS SEED OUT [MODEL PX RATE]"""

import csv
import json
import sys
from pathlib import Path

import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.metrics import average_precision_score
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

folder, file, epochs, seed, out, name, px, rate = *sys.argv[1:], *["mobilenetv2_100", "96", "6e-4"][len(sys.argv) - 6 :]
torch.manual_seed(int(seed))
rows = list(csv.DictReader(Path(folder, "labels.csv").read_text(encoding="utf-8").splitlines()))
classes = sorted({name for row in rows for name in row["labels"].split("|")})
model = timm.create_model(name, file != "none", pretrained_cfg_overlay={"file": file}, num_classes=0)
model.to(memory_format=torch.contiguous_format if "repvgg" in name else torch.channels_last)  # which crashes RepVGG
linear = torch.nn.Linear(1280, len(classes))  # timm's own first weights cost ten points in three epochs
model.set_submodule("classifier" if hasattr(model, "classifier") else "head.fc", linear)
mean, std = ([0.5] * 3, [0.5] * 3) if "lite" in name else ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
to_input = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)])
views = [v2.RandomResizedCrop(int(px), (0.5, 1)), v2.RandomHorizontalFlip(), v2.ColorJitter(0.2, 0.2), to_input]
train_view, test_view = v2.Compose(views), v2.Compose([v2.Resize((int(px), int(px))), to_input])


class Photos(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    def __init__(self, split: str, view: v2.Compose) -> None:
        self.rows, self.view = [row for row in rows if row["split"] == split], view

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image, labels = self.rows[index]["image"], self.rows[index]["labels"].split("|")
        targets = torch.tensor([float(name in labels) for name in classes])
        return self.view(Image.open(Path(folder, image)).convert("RGB")), targets


train = DataLoader(Photos("train", train_view), 32, shuffle=True, drop_last=True)
val = DataLoader(Photos("val", test_view), 64)
*body, weight, bias = model.parameters()  # the last two are the classifier's
optimizer = torch.optim.AdamW([{"params": body}, {"params": [weight, bias]}], weight_decay=0.01)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [float(rate), 2e-3], int(epochs) * len(train), pct_start=0.2)
for images, targets in (batch for _ in range(int(epochs)) for batch in train):
    torch.autograd.backward(torch.nn.functional.binary_cross_entropy_with_logits(model(images), targets))
    optimizer.step()
    optimizer.zero_grad()
    schedule.step()
with torch.inference_mode():
    labels, logits = torch.cat([y for _, y in val]), torch.cat([model.eval()(x) for x, _ in val])
known = labels.any(0)
scores = {"classes": classes, "map_percent": 100 * average_precision_score(labels[:, known], logits[:, known])}
Path(out).mkdir(parents=True, exist_ok=True)
save_file(model.to(memory_format=torch.contiguous_format).state_dict(), f"{out}/model.safetensors")
Path(out, "scores.json").write_text(json.dumps(scores), encoding="utf-8")
