"""Writes the files that test_torch.py converts, with what PyTorch makes of their inputs; run where torch is."""

import sys
from pathlib import Path

import nets
import numpy as np
import torch
from torch.export import Dim, export, save


def main(folder: Path) -> None:
    torch.manual_seed(3)
    keyed, images = nets.keyed().eval(), (torch.randn(4, 3, 8, 8), torch.randn(4))
    batch = {0: Dim("batch")}
    save(export(keyed, images, dynamic_shapes={"image": batch, "scale": batch}), folder / "keyed.pt2")
    made = keyed(*images)
    expected = {"logits": made["logits"], "aux_features": made["aux"]["features"]}
    expected |= {f"aux_parts_{number}": part for number, part in enumerate(made["aux"]["parts"])}
    arrays = {name: tensor.detach().numpy() for name, tensor in expected.items()}
    np.savez(folder / "keyed.npz", image=images[0], scale=images[1], **arrays)
    other = nets.Keyed()
    torch.save({"state_dict": {f"module.{name}": t for name, t in keyed.state_dict().items()}}, folder / "keyed.pth")
    torch.save(other.state_dict(), folder / "old.pth", _use_new_zipfile_serialization=False)
    torch.save(nets.half().state_dict(), folder / "another.pth")
    torch.save(keyed, folder / "whole.pth")
    half, image = nets.half().eval(), torch.randn(2, 3, 8, 8, dtype=torch.bfloat16)
    save(export(half, (image,), dynamic_shapes={"image": batch}), folder / "half.pt2")
    save(export(nets.Plain(), (image.float(),)), folder / "training.pt2")
    save(export(nets.Plain().eval(), (image.float(),)), folder / "static.pt2")
    torch.jit.script(nets.Steps().eval()).save(folder / "steps.pt")
    torch.jit.trace(nets.Plain().eval(), image.float()).save(folder / "traced.pt")
    try:
        from safetensors.torch import save_file
    except ImportError:
        return
    save_file(keyed.state_dict(), folder / "keyed.safetensors")


main(Path(sys.argv[1]))
