"""Options of `evaluate`."""

from dataclasses import dataclass

from ddlabel.core.config.shared import TrainOptions, expert_epoch, log_option, protocol_dataset
from ddlabel.core.option import COMPARISON, LABELS, MACHINE, OUTPUT, TESTING, TRAINING, option


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(TrainOptions):
    """`evaluate`: students from scratch (defaults: GIFT, Table 15)."""

    PANEL = LABELS

    AXES = ("labels", "net", "loss", "optimizer", "schedule", "augment", "mix")

    protocol: str | None = option(
        None,
        "preset the options of a paper's evaluation; 'list protocols' shows them",
        panel=TRAINING,
    )
    dataset: str | None = protocol_dataset()
    labels: str = option(
        "auto",
        "which labels to learn from; online: those that --teacher gives each augmented batch",
        choices=("auto", "hard", "soft", "dense", "online"),
        needs={"online": "teacher"},
    )
    loss: str = option("soft-ce", "loss spec, e.g. kl:temperature=20,scale=false")
    # A hard label cannot be blended, and blended views are neither whole images nor views.
    mix: str = option(
        "none",
        "blend images and their labels: cutmix, mixup, none",
        not_with=("labels=hard", "dense_loss"),
    )
    seeds: int = option(5, "number of students, with successive seeds", low=1, panel=TRAINING)
    stack: float | str = option(
        "auto",
        "students trained side by side; auto: as many as fit a GPU, and one on a CPU, where more "
        "are slower",
        low=1,
        recorded=False,
        auto=True,
        panel=MACHINE,
    )
    dense_batches: str = option(
        "mix",
        "mix draws images and views into batches at the cost of images alone (LADD, Fig. 3); "
        "sum adds the losses of all views of each image (LADD, Eq. 5), mean averages them",
        choices=("mix", "sum", "mean"),
        only_with="labels=dense",
    )
    global_labels: str = option(
        "auto",
        "label of the whole image; auto: soft where the bundle has soft labels, else hard",
        choices=("auto", "hard", "soft", "none"),
        only_with="labels=dense",
    )
    dense_loss: str | None = option(
        None, "loss of the views (default: that of --loss)", only_with="labels=dense"
    )
    ema: float | None = option(
        None,
        "test a running mean of the weights, with this decay",
        above=0,
        high=0.9999,
        panel=TRAINING,
    )
    ema_every: str = option(
        "step",
        "when the running mean takes in the weights; epoch: as a plain mean of all epochs until "
        "--ema forgets more (GLaD)",
        choices=("step", "epoch"),
        only_with="ema",
        panel=TRAINING,
    )
    refine_teacher: float | None = option(
        None,
        "mix this much of the smoothed class into the teacher's labels, before any loss (GIFT, "
        "section 4; 0.1 there)",
        above=0,
        high=1,
        only_with="labels=online",
    )
    teacher: tuple[str, ...] = option(
        (), "expert run for online labels; several form an ensemble", recorded=False
    )
    teacher_epoch: str = expert_epoch("teacher", only_with="teacher")
    zca_from: str | None = option(
        None,
        "bundle of real images to whiten the student's images by (ZCA)",
        recorded=False,
        panel=TRAINING,
    )
    select: str = option(
        "last",
        "epoch that counts; val: the best on images held out from the bundle; best-on-test: the "
        "best on the test images, and the record says so",
        choices=("last", "val", "best-on-test"),
        panel=TESTING,
    )
    holdout: float = option(
        0.2,
        "share of each class to hold out",
        above=0,
        high=0.9,
        only_with="select=val",
        panel=TESTING,
    )
    checks: int = option(
        20,
        "number of epochs that --select chooses from and --curve has accuracies of, spread evenly "
        "over the training",
        low=1,
        only_with=("select=val|best-on-test", "curve"),
        panel=TESTING,
    )
    continual: int | None = option(
        None,
        "class-incremental steps, with a class order for each seed (GDumb; GIFT, Fig. 2)",
        low=2,
        panel=TESTING,
    )
    curve: bool = option(
        default=False,
        help="record the mean loss and gradient norm of every epoch, the accuracy at --checks "
        "epochs, and how many online labels are right",
        part_of_key=False,
        panel=TESTING,
    )
    confusion: bool = option(
        default=False,
        help="record the confusion matrix, true class by predicted class",
        part_of_key=False,
        panel=TESTING,
    )
    reliability: bool = option(
        default=False,
        help="record images, hits and sum of confidences in 15 bins of confidence",
        part_of_key=False,
        panel=TESTING,
    )
    against: str | None = option(
        None, "bundle whose labels to compare with, seed by seed", recorded=False, panel=COMPARISON
    )
    against_loss: str | None = option(
        None,
        "loss spec for the labels of --against (default: that of --loss)",
        recorded=False,
        only_with="against",
        panel=COMPARISON,
    )
    control: str = option(
        "none",
        "random: compare with as many random real images under the same protocol; scores: train "
        "also the students that DD-Ranking's scores need",
        choices=("none", "random", "scores"),
        recorded=False,
        only_with="real",
        panel=COMPARISON,
    )
    real: str | None = option(
        None, "bundle of all real images", recorded=False, only_with="control", panel=COMPARISON
    )
    real_epochs: int = option(
        30,
        "epochs on all real images",
        low=1,
        recorded=False,
        only_with="control=scores",
        panel=COMPARISON,
    )
    bundle: str | None = option(
        None,
        "bundle (default: handwritten digits)",
        recorded=False,
        argument="BUNDLE",
        only_with="test",
    )
    test: str | None = option(
        None, "bundle of test images", recorded=False, only_with="bundle", panel=TESTING
    )
    out: str | None = option(
        None,
        "results file (.jsonl) to which one record for each student is appended",
        recorded=False,
        panel=OUTPUT,
    )
    save_students: str | None = option(
        None,
        "folder in which the weights of every student are kept, for 'show --students'",
        recorded=False,
        not_with=("zca_from", "continual"),
        panel=OUTPUT,
    )
    log: str | None = log_option()
    table: str | None = option(
        None,
        "axes for rows and columns of the table, e.g. loss,optimizer",
        recorded=False,
        panel=OUTPUT,
    )
