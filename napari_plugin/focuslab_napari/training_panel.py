"""The training panel: a new model from focal stacks, in a process of its own; the loss and pictures while it learns."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QPixmap
from qtpy.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QLabel, QProgressBar, QPushButton, QSizePolicy, QWidget

from focuslab.errors import FocusLabError, RequestError
from focuslab.stack import FocalStack
from focuslab_napari.applying import write_steps
from focuslab_napari.curve_plot import CurvePlot
from focuslab_napari.image_box import TITLES
from focuslab_napari.jobs import JobBar
from focuslab_napari.layers import image_layers
from focuslab_napari.model_box import ModelBox, announce_model
from focuslab_napari.number_fields import Number, NumberFields, OpenNumbers
from focuslab_napari.panel import Panel, form_of, sentence_label
from focuslab_napari.path_field import FolderField
from focuslab_napari.training_process import (
    LAYERS_FOLDER,
    TrainingOrder,
    files_of,
    last_words,
    learning_curves,
    recipes,
    start_training,
    stop_training,
)

__all__ = ["TrainingPanel"]

FOLDER, LAYERS, NOTHING = "files of a folder", "selected layers", "none (phantoms alone)"
_EVERY = 500  # ms between looks at the run
_NOTES = 3  # sentences on the data that are shown; there may be hundreds
_LENGTH = {"minutes": Number("Length", 10.0, 0.05, 10_000, 2, "min")}
_SHOWN = ("sharpest", "reconstruction", "level", "validation")  # of the figures of a run


class TrainingPanel(Panel):
    """Choice of data and recipe, start, stop, and what the run is doing."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer)
        self.recipe, self.what, self.source = QComboBox(), sentence_label(), QComboBox()
        self.folder, self.output = FolderField("Folder of focal stacks"), FolderField("Folder of the new model")
        self.known, self.model, self.length = OpenNumbers(TITLES, "as the file says"), ModelBox(), NumberFields(_LENGTH)
        self.channel = NumberFields({"channel": Number("Channel", 0, 0, 99, decimals=0)})
        self.channel.setToolTip("Of stacks of several channels, the one to learn from; the first is 0")
        self.all, self.resume = (
            QCheckBox("Train on every stack, validate on none"),
            QCheckBox("Go on with the run there"),
        )
        self.train, self.stop = QPushButton("Train"), QPushButton("Stop, keep the best")
        self.bar, self.plot, self.picture = QProgressBar(), CurvePlot(napari_viewer, "step"), QLabel()
        self.about, self.notes, self.job = sentence_label(), sentence_label(), JobBar()
        self.source.addItems([FOLDER, LAYERS, NOTHING])
        self.stop.setEnabled(False)
        self.bar.setRange(0, 1000)
        self.picture.setToolTip("The plane, what the model makes of it, the truth")
        self.picture.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)  # as wide as the panel is
        self.run: Any = None
        self._watched: Path | None = None
        self._timer = QTimer(self)
        self._timer.timeout.connect(self.look)
        buttons = QWidget()
        row = QHBoxLayout(buttons)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.train)
        row.addWidget(self.stop)
        self.lay_out(
            {
                "Recipe": form_of({"Recipe": self.recipe}, self.what, self.length),
                "Focal stacks": form_of(
                    {"From": self.source, "Folder": self.folder}, self.channel, self.known, self.all
                ),
                "Start from": self.model,
                "New model": form_of({"Into": self.output}, self.resume, buttons, self.bar, self.plot, self.picture),
            },
            self.about,
            self.notes,
            self.job,
        )
        self.recipe.currentTextChanged.connect(self._describe)
        self.source.currentTextChanged.connect(lambda text: self.folder.setEnabled(text == FOLDER))
        self.output.changed.connect(self.watch)
        self.train.clicked.connect(self.start)
        self.stop.clicked.connect(self.end)
        self.job.finished.connect(lambda: self.train.setEnabled(self._watched is None))
        self.when_closed(self._timer.stop, self.job.cancel)  # the run itself goes on
        try:
            self.recipe.addItems(list(recipes()))
            self.recipe.setCurrentText("finetune")
        except FocusLabError as error:
            self.about.setText(str(error))
            self.train.setEnabled(False)

    def start(self) -> None:
        """Start a run, and watch it; layers are written to files first."""
        from focuslab_training.status import TrainingStatus

        try:
            if (output := self.output.path) is None:
                raise RequestError("Name a folder for the new model.")
            if TrainingStatus.of(output) is not None and not self.resume.isChecked():
                raise RequestError(f"{output} holds a run already: go on with it, or name another folder.")
            layers = self._layers(output) if self.source.currentText() == LAYERS else []
            order = self._order(output, len(layers))
        except FocusLabError as error:
            self._refuse(error)
            return
        if layers:
            self.train.setEnabled(False)
            self.about.setText("Writing the layers ...")
            self.job.run("Writing layers", lambda: write_steps(layers), lambda _: self._launch(order))
        else:
            self._launch(order)

    def _launch(self, order: TrainingOrder) -> None:
        try:
            self.run = start_training(order)
            self._watch(order.output)
            self.about.setText("Starting ...")
        except FocusLabError as error:
            self._refuse(error)

    def end(self) -> None:
        """Stop the run that is watched; it writes its best model, once it has begun to learn."""
        from focuslab_training.status import TrainingStatus

        if (output := self._watched) is None:
            return
        status = TrainingStatus.of(output)
        if self.run is not None and (status is None or not self.run.wrote(status)):
            self.run.process.terminate()
            self._let_go()
            self.about.setText("Stopped before the first step.")
        else:
            with suppress(OSError):
                stop_training(output)
            self.about.setText("Stopping ...")
        self.stop.setEnabled(False)

    def watch(self) -> None:
        """Watch the run in the folder of the new model, if there is one, in whichever process it is."""
        from focuslab_training.status import TrainingStatus

        if self.run is not None or self.output.path is None:
            return
        if TrainingStatus.of(self.output.path) is not None:
            self._watch(self.output.path)
        elif self._watched is not None:  # a run of another process, perhaps on another machine, goes on unwatched
            self._let_go()
            self.about.setText("")

    def look(self) -> None:
        """Show where the run stands now."""
        from focuslab_training.status import TrainingStatus

        if (output := self._watched) is None:
            return
        status = TrainingStatus.of(output)
        if self.run is not None and status is not None and not self.run.wrote(status):
            status = None  # that of an earlier run
        if status is not None:
            self._show(output, status)
        said = status is not None and status.state != "running"
        if not (said if self.run is None else self.run.ended):
            return
        if said:
            self._ended(output, status.state, status.error)
        else:  # it ended without a word
            self._ended(output, "failed", last_words(output))

    def _watch(self, output: Path) -> None:
        self._watched = output
        self.train.setEnabled(False)
        self.stop.setEnabled(True)
        self.bar.setValue(0)
        self.plot.show_curves({})
        self.picture.clear()
        self.notes.clear()
        self._timer.start(_EVERY)

    def _order(self, output: Path, layers: int) -> TrainingOrder:
        source, count, data = self.source.currentText(), 2, None
        if source == FOLDER:
            data = self.folder.path
            if data is None or not data.is_dir():
                raise RequestError(f"Name a folder of focal stacks, got {data or 'nothing'}.")
            count = sum(1 for _ in data.rglob("*.tif*"))
        elif source == LAYERS:
            data = output / LAYERS_FOLDER
            count = layers or sum(1 for _ in data.glob("*.tif"))
        if count == 1 and not self.all.isChecked():
            raise RequestError(
                "There is one focal stack, and none to keep apart and check the model with: add others, or tick "
                f"{self.all.text()!r} to train on it all the same."
            )
        return TrainingOrder(
            self.recipe.currentText(),
            output,
            data,
            self.length["minutes"],
            self.model.model,
            self.model.device,
            {**self.known.values, **({"channel": channel} if (channel := self.channel.whole("channel")) else {})},
            self.all.isChecked(),
            self.resume.isChecked(),
        )

    def _layers(self, output: Path) -> list[tuple[Path, FocalStack]]:
        """Selected layers and the files that they are to be written to; none where a run goes on with those there."""
        chosen = [layer for layer in image_layers(self.viewer.layers) if layer in self.viewer.layers.selection]
        if not chosen:
            raise RequestError("Select image layers in the layer list first.")
        written = self.resume.isChecked() and (output / LAYERS_FOLDER).is_dir()
        return [] if written else files_of(chosen, output)

    def _show(self, output: Path, status: Any) -> None:
        part = status.part or status.parts[0]
        before = status.parts.index(part)
        self.bar.setValue(round(1000 * (before + status.done) / len(status.parts)))
        curves = {name: c for name, c in learning_curves(output, part).items() if name in _SHOWN}
        if curves:
            self.plot.show_curves(curves, left_label=f"loss of the {part}")
        picture = QPixmap(str(output / "training" / part / "picture.png"))
        if not picture.isNull():
            wide = min(self.plot.width(), 3 * picture.width())
            self.picture.setPixmap(picture.scaledToWidth(wide, Qt.TransformationMode.SmoothTransformation))
        if status.step:
            self.about.setText(f"{part}, step {status.step}: {status.seconds_left / 60:.1f} min left.")
        more = [f"and {len(status.notes) - _NOTES} more"] if len(status.notes) > _NOTES else []
        self.notes.setText("\n".join([*status.notes[:_NOTES], *more]))

    def _let_go(self) -> None:
        self._timer.stop()
        self.run, self._watched = None, None
        self.train.setEnabled(True)
        self.stop.setEnabled(False)

    def _ended(self, output: Path, state: str, error: str) -> None:
        self._let_go()
        if state in ("finished", "stopped"):
            self.bar.setValue(1000)
            try:
                announce_model(output)
                self.about.setText(f"The new model is in {output}, and in the list of models.")
            except FocusLabError:  # the published autoencoder does not refocus by micrometres
                self.about.setText(f"The new model is in {output}: focuslab evaluate tells how good it is.")
            show_info(f"FocusLab has trained a model: {output.name}.")
        else:
            words = error or "it was ended from outside; tick 'Go on' to take it up from its last checkpoint"
            self.about.setText(f"The run has failed: {words}")

    def _describe(self, name: str) -> None:
        said = recipes()[name]
        minutes = sum(float(m) for m in said.get("minutes", {}).values())
        self.what.setText(str(said.get("description", "")))
        if minutes:
            self.length.boxes["minutes"].setValue(minutes)
        self.model.setEnabled(bool(said.get("start")))
        self.known.setEnabled(bool(said.get("stacks")))

    def _refuse(self, error: FocusLabError) -> None:
        self.about.setText(str(error))
        show_warning(str(error))
