"""`import-expert`: weights that another program trained, as expert runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ddlabel.commands.command import command
from ddlabel.commands.expert_plan import PlannedRun, locked_runs
from ddlabel.commands.expert_state import training_sample
from ddlabel.commands.foreign_network import Bundles, ForeignNetwork
from ddlabel.commands.inputs import source_paths
from ddlabel.commands.reporter import Reporter
from ddlabel.commands.train_expert import runs_as_json
from ddlabel.core.config import ImportExpertOptions, RuntimeOptions
from ddlabel.data import whitening
from ddlabel.data.expert_run import ExpertInfo, ExpertRun
from ddlabel.data.foreign_weights import Experts, Weights, read_experts
from ddlabel.data.provenance import sha256_of_path
from ddlabel.data.run_files import INFO, Arrays
from ddlabel.methods.metrics import confusion, correct
from ddlabel.methods.nets import Network
from ddlabel.training.device_data import DeviceBundle, predict
from ddlabel.training.environment import environment
from ddlabel.training.labeler import network_of
from ddlabel.training.runtime import Runtime

Record = dict[str, Any]
# How much more accuracy another order of the classes must give to be worth a warning.
_SUSPICIOUS_GAIN = 0.2


@command("import-expert", ImportExpertOptions, json_value=runs_as_json)
def import_expert(
    sources: str | Path | list[str | Path],
    out: str | Path,
    *,
    options: ImportExpertOptions,
    reporter: Reporter,
) -> list[ExpertRun]:
    """Make expert runs of weights that another program trained. Nothing of the files is run.

    State dicts (`.pth`, `.pt`, `.safetensors`) are the epochs of one expert; they may be wrapped as
    training checkpoints are, and have prefixes such as `module.`. A replay buffer of MTT has many
    experts and epochs, with parameters alone.

    Args:
        sources: One file or several.
        out: The folder of the run; of several experts, the folder of their folders.
        options: The options.
        reporter: Reports the network, the normalisation, the classes and the accuracies.

    Returns:
        The runs that were made; those that were complete before are left out.

    Raises:
        InvalidInputError: A file is missing, damaged, has no weights, or a weight is not finite.
        UnsafeInputError: A file asks for code, or declares more than its bytes hold.
        UsageError: The classes, the size or the normalisation is not given and not clear.
        IncompatibleError: The weights fit no network, have another number of classes, or `out` has
            a run of other weights or options.
        OutputExistsError: All runs are complete, or something else is in `out`.
        ResourceError: The device is not there, or images are too large for ZCA.
    """
    paths = source_paths(sources, "save state_dict() with torch.save first")
    experts = read_experts(paths, options.epochs, options.experts)
    bundles = Bundles.open(options)
    network = ForeignNetwork.of(experts, bundles, options)
    for note in network.notes:
        reporter.note(note)
    _check_weights(experts, reporter)
    planned = _plan(experts, network, bundles, options, paths, Path(out))
    testing = _Testing.of(bundles, options)
    zca = None if bundles.zca is None else whitening.fit(bundles.zca.images)
    runs = []
    with locked_runs(list(planned.values()), Path(out)) as unfinished:
        for number, plan in planned.items():
            if plan in unfinished:
                run = _open_run(plan, zca)
                _write_run(run, experts[number], network.fit.names, testing, reporter)
                runs.append(run)
    return runs


def _check_weights(experts: Experts, reporter: Reporter) -> None:
    """Check every weight before anything is written, and say if all epochs are the same.

    Raises:
        InvalidInputError: A weight is not a finite number.
        UnsafeInputError: A tensor has more numbers than its bytes hold.
    """
    for number, checkpoints in experts.items():
        first = checkpoints[0].arrays()
        are_same = [_are_equal(first, weights.arrays()) for weights in checkpoints[1:]]
        if are_same and all(are_same):
            reporter.warn(
                f"warning: all {len(checkpoints)} epochs of expert {number} have the same weights, "
                "as MTT's code saves them when it runs on a CPU: they are those of the last epoch"
            )


def _are_equal(first: Arrays, second: Arrays) -> bool:
    return all(np.array_equal(array, second[name]) for name, array in first.items())


def _plan(
    experts: Experts,
    network: ForeignNetwork,
    bundles: Bundles,
    options: ImportExpertOptions,
    paths: Sequence[Path],
    out: Path,
) -> dict[int, PlannedRun]:
    """Return the folder of every run and the content of its `expert.json`, by expert."""
    recorded = options.recorded()
    recorded["sources"] = [path.name for path in paths]
    recorded["sha256"] = [sha256_of_path(path) for path in paths]
    planned = {}
    for number, checkpoints in experts.items():
        info = ExpertInfo(
            net=network.fit.spec,
            classes=network.classes,
            channels=network.fit.channels,
            size=network.fit.size,
            mean=network.mean,
            std=network.std,
            zca=bundles.zca is not None,
            seed=0,
            steps_per_epoch=1,
            steps=checkpoints[-1].epoch,
            data="" if bundles.real is None else bundles.real.digest,
            options=recorded | {"expert": number},
        )
        folder = out if len(experts) == 1 else out / f"expert-{number}"
        planned[number] = PlannedRun(folder, info)
    return planned


@dataclass(frozen=True, kw_only=True)
class _Testing:
    """The images whose accuracy is recorded, by its name in records, and how it is measured."""

    runtime: Runtime
    images: Mapping[str, DeviceBundle]
    test_digest: str | None

    @classmethod
    def of(cls, bundles: Bundles, options: ImportExpertOptions) -> Self:
        """Copy the images to the device.

        Raises:
            ResourceError: The device is not there.
        """
        settings = RuntimeOptions(device=options.device, compile="off", precision="fp32")
        runtime = Runtime.of(settings)
        images = {}
        if bundles.real is not None:
            whole = DeviceBundle.of(bundles.real, runtime.device)
            images["train_accuracy"] = training_sample(whole, seed=0)
        if bundles.test is not None:
            images["test_accuracy"] = DeviceBundle.of(bundles.test, runtime.device)
        digest = None if bundles.test is None else bundles.test.digest
        return cls(runtime=runtime, images=images, test_digest=digest)

    def accuracies(self, network: Network) -> Record:
        """Return the accuracies of a checkpoint, and what they were measured on and with."""
        record: Record = {}
        for name, data in self.images.items():
            record[name] = int(correct(self._logits(network, data), data.hard)) / len(data)
        if record:
            record["environment"] = environment(self.runtime.device)
        if self.test_digest is not None:
            record["test"] = self.test_digest
        return record

    def check_order(self, network: Network, reporter: Reporter) -> None:
        """Warn if the outputs fit the images much better in another order of the classes."""
        for name, data in self.images.items():
            counts = np.array(confusion(self._logits(network, data), data.hard))
            accuracy = np.trace(counts) / len(data)
            best = counts[linear_sum_assignment(counts, maximize=True)].sum() / len(data)
            if best > accuracy + _SUSPICIOUS_GAIN:
                reporter.warn(
                    f"warning: {name.replace('_', ' ')} is {100 * accuracy:.1f} %, and would be "
                    f"{100 * best:.1f} % with the classes in another order: check --class-names"
                )

    def _logits(self, network: Network, data: DeviceBundle) -> Tensor:
        """Return logits [N, K] of a network."""
        shape = data.images.shape[1:]
        forward = self.runtime.forward([network.body], num_images=len(data), shape=shape)
        with self.runtime.arithmetic(), torch.no_grad():
            return predict([network], forward, data)[0]


def _open_run(plan: PlannedRun, zca: tuple[Any, Any] | None) -> ExpertRun:
    """Make the folder of a run, with its whitening if it has one, unless it is there already."""
    is_there = (plan.folder / INFO).exists()
    run = ExpertRun(plan.folder) if is_there else ExpertRun.create(plan.folder, plan.info)
    if zca is not None and not run.has_whitening:
        mean, matrix = zca
        run.save_whitening({"mean": mean, "matrix": matrix})
    return run


def _write_run(
    run: ExpertRun,
    checkpoints: Sequence[Weights],
    names: Mapping[str, str],
    testing: _Testing,
    reporter: Reporter,
) -> None:
    """Write the checkpoints of a run with their records."""
    network = network_of(run.about, run).to(testing.runtime.device)
    fresh = network.body.state_dict().items()
    counters = {name: tensor.cpu().numpy() for name, tensor in fresh if name not in names}
    records: list[Record] = []
    for weights in reporter.progress(checkpoints):
        arrays = weights.arrays()
        state = counters | {ours: arrays[theirs] for ours, theirs in names.items()}
        network.body.load_state_dict({name: torch.from_numpy(each) for name, each in state.items()})
        record: Record = {"step": weights.epoch, "epoch": run.epoch_of(weights.epoch)}
        record |= testing.accuracies(network)
        record["sha256"] = run.save_weights(weights.epoch, state)
        records.append(record)
        run.save_metrics(records)
        reporter.note(_record_line(run, record))
    testing.check_order(network, reporter)


def _record_line(run: ExpertRun, record: Record) -> str:
    """Return a checkpoint's record as a line for people."""
    names = ("train_accuracy", "test_accuracy")
    measured = [f"{name[:-9]} {100 * record[name]:.1f} %" for name in names if name in record]
    return f"{run.folder}: epoch {record['epoch']:g}{': ' if measured else ''}{', '.join(measured)}"
