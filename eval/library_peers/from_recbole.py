"""Item- and user-kNN, NeuMF, Mult-VAE and LightGCN of RecBole (Zhao et al., CIKM 2021)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eval.library_peers.purchases import Floats, Purchases, empty_scores

BLOCK = 256  # users scored at once


def item_knn(past: Purchases, *, settings: Mapping[str, Any], seed: int) -> Floats:
    """Score by the cosine of items over shoppers (Aiolli, RecSys 2013)."""
    return _fitted("ItemKNN", past, settings={"knn_method": "item", "epochs": 1, **settings}, seed=seed)


def user_knn(past: Purchases, *, settings: Mapping[str, Any], seed: int) -> Floats:
    """Score by the cosine of shoppers over items (Aiolli, RecSys 2013)."""
    return _fitted("ItemKNN", past, settings={"knn_method": "user", "epochs": 1, **settings}, seed=seed)


def neumf(past: Purchases, *, settings: Mapping[str, Any], seed: int) -> Floats:
    """Score by neural matrix factorization (He et al., WWW 2017)."""
    return _fitted("NeuMF", past, settings=settings, seed=seed)


def mult_vae(past: Purchases, *, settings: Mapping[str, Any], seed: int) -> Floats:
    """Score by a variational autoencoder with multinomial likelihood (Liang et al., WWW 2018)."""
    return _fitted("MultiVAE", past, settings=settings, seed=seed)


def lightgcn(past: Purchases, *, settings: Mapping[str, Any], seed: int) -> Floats:
    """Score by a light graph convolution (He et al., SIGIR 2020)."""
    return _fitted("LightGCN", past, settings=settings, seed=seed)


def _fitted(name: str, past: Purchases, *, settings: Mapping[str, Any], seed: int) -> Floats:
    """Fit one of its models on all of the past, without a split of its own, in the working folder."""
    from recbole.config import Config
    from recbole.data import create_dataset
    from recbole.data.utils import get_dataloader
    from recbole.sampler import Sampler
    from recbole.utils import get_model, get_trainer, init_seed

    user, item, _ = past.pairs()
    folder = Path("data") / "past"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "past.inter").open("w", encoding="ascii") as out:
        out.write("user_id:token\titem_id:token\n")
        out.writelines(f"{one}\t{other}\n" for one, other in zip(user.tolist(), item.tolist(), strict=True))
    logging.disable(logging.INFO)
    own = dict(settings)
    if "steps" in own:  # of an epoch: a batch that grows with the past keeps the time of an epoch in bounds
        rows = past.users if name == "MultiVAE" else len(user)
        own["train_batch_size"] = max(1, -(-rows // int(own.pop("steps"))))
    config = Config(
        model=name,
        dataset="past",
        config_dict={
            "data_path": "data",
            "seed": seed,
            "use_gpu": False,
            "show_progress": False,
            "load_col": {"inter": ["user_id", "item_id"]},
            **own,
        },
    )
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    dataset._change_feat_format()  # what its own splitting does first; all of the past is for training here
    sampler = Sampler(["train"], [dataset], "uniform", 1.0).set_phase("train")
    train = get_dataloader(config, "train")(config, dataset, sampler, shuffle=True)
    model = get_model(name)(config, dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], name)(config, model)
    trainer.fit(train, valid_data=None, saved=False, show_progress=False)
    return _scores(model, dataset, past)


def _scores(model: Any, dataset: Any, past: Purchases) -> Floats:
    """Score every item that the model knows for every shopper that it knows, by the rows of the past."""
    import torch
    from recbole.data.interaction import Interaction

    model.eval()
    users = dataset.field2id_token[dataset.uid_field][1:].astype(np.int64)  # 0 is its padding
    items = dataset.field2id_token[dataset.iid_field][1:].astype(np.int64)
    count = dataset.item_num
    out = empty_scores(past)
    with torch.no_grad():
        for start in range(0, len(users), BLOCK):
            block = torch.arange(start, min(start + BLOCK, len(users))) + 1
            try:
                found = model.full_sort_predict(Interaction({dataset.uid_field: block}))
            except NotImplementedError:  # NeuMF scores pairs only
                every = torch.arange(count).repeat(len(block))
                pair = {dataset.uid_field: block.repeat_interleave(count), dataset.iid_field: every}
                found = model.predict(Interaction(pair))
            table = np.asarray(found, np.float32).reshape(len(block), count)[:, 1:]
            out[np.ix_(users[start : start + BLOCK], items)] = table
    return out
