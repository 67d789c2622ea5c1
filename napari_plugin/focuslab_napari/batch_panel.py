"""The batch panel: a folder, or the selected layers, each image into its own file, errors listed by file."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari.utils.notifications import show_warning
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QCheckBox, QComboBox, QLineEdit, QListWidget, QListWidgetItem, QPushButton

from focuslab.errors import FocusLabError, RequestError
from focuslab.files import file_name, place_of
from focuslab_napari.image_box import TITLES
from focuslab_napari.jobs import JobBar
from focuslab_napari.layers import image_layers, read_layer
from focuslab_napari.model_box import ModelBox
from focuslab_napari.number_fields import Number, NumberFields, OpenNumbers
from focuslab_napari.opening import open_file
from focuslab_napari.panel import Panel, form_of, sentence_label
from focuslab_napari.path_field import FolderField
from focuslab_napari.preferences import chosen_focus_axis, preference, typed_numbers
from focuslab_napari.results import places_of
from focuslab_napari.session import Session

if TYPE_CHECKING:
    from focuslab.refocusing.batch import BatchProgress, Job, Outcome
    from focuslab.stack import FocalStack

__all__ = ["BatchPanel"]

FOLDER, LAYERS = "files of a folder", "selected layers"
SHARPEST, SHIFT_UM, SHIFT_PX = "each to the sharpest", "by a shift in um", "by a shift in px"
_WRONG = QColor("#e76f51")
_TITLES = {  # of what the command line calls otherwise
    "--rgb per-channel": "RGB per channel",
    "--axes": "Axes",
    "--overwrite": "Replace results that are there",
    **{f"--{name.replace('_', '-')}": title for name, (title, _) in TITLES.items()},
}
_SHIFT = {"shift": Number("Shift", -5.0, -1000, 1000, 2)}


class BatchPanel(Panel):
    """Many images through one engine."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer)
        self.session = Session()
        self.source, self.folder, self.files = QComboBox(), FolderField("Folder of images"), QLineEdit("*.tif*")
        self.axes, self.per_channel = QLineEdit(), QCheckBox("RGB per channel")
        self.axes.setPlaceholderText("as the files say")
        self.axes.setToolTip("Dimensions of every file in its order, where files do not say them: ZYX")
        self.per_channel.setToolTip("Take the colours of pictures as channels")
        self.output, self.overwrite = FolderField("Folder for the results"), QCheckBox("Replace results that are there")
        self.per_frame = QCheckBox("A level for each time point")
        self.per_frame.setToolTip("Where focus drifts; one level for all of them is more certain where it does not")
        self.source.addItems([FOLDER, LAYERS])
        self.files.setToolTip("Which files of the folder: * stands for anything, **/ for subfolders")
        self.known = OpenNumbers(TITLES, "as the file says")
        self.model, self.move, self.shift = ModelBox(), QComboBox(), NumberFields(_SHIFT)
        self.move.addItems([SHARPEST, SHIFT_UM, SHIFT_PX])
        self.run, self.job, self.about, self.list = QPushButton("Run"), JobBar(), sentence_label(), QListWidget()
        self.list.setMinimumHeight(140)
        self.list.setWordWrap(True)
        self.list.setToolTip("Double-click a result to open it")
        self.lay_out(
            {
                "Images": form_of(
                    {"From": self.source, "Folder": self.folder, "Files": self.files, "Axes": self.axes},
                    self.per_channel,
                ),
                "Microscope": self.known,
                "Model": self.model,
                "Move": form_of({"Move": self.move}, self.shift, self.per_frame),
                "Results": form_of({"Into": self.output}, self.overwrite, self.run, self.list),
            },
            self.about,
            self.job,
        )
        self.source.currentTextChanged.connect(self._show)
        self.move.currentTextChanged.connect(self._show)
        self.run.clicked.connect(self.start)
        self.list.itemDoubleClicked.connect(self._open)
        self.job.finished.connect(lambda: self.run.setEnabled(True))
        self._show()
        self.when_closed(self.job.cancel)

    def start(self) -> None:
        """Refocus all of them."""
        try:
            jobs, request = self._jobs(), self._request()
            self._check_open(jobs)
        except FocusLabError as error:
            show_warning(_here(error))
            self.about.setText(_here(error))
            return
        model, device, overwrite = self.model.model, self.model.device, self.overwrite.isChecked()
        tile = int(preference("tile"))

        def steps() -> Any:
            from focuslab.refocusing.batch import batch_steps

            engine = self.session.engine(model, device)
            return batch_steps(jobs, request, engine, overwrite=overwrite, keep_nan=True, tile=tile)

        self.list.clear()
        self.about.setText(f"{len(jobs)} images.")
        self.run.setEnabled(False)
        self.job.run("Batch", steps, self._ended, self._stepped)

    def _jobs(self) -> "list[Job]":
        from focuslab.io import read
        from focuslab.refocusing.batch import check_targets, files_in, jobs_of

        if (output := self.output.path) is None:
            raise RequestError("Name a folder for the results.")
        if self.source.currentText() == LAYERS:
            return self._layer_jobs(output)
        if (folder := self.folder.path) is None:
            raise RequestError("Name a folder of images.")
        numbers, axes = self.known.values, self.axes.text().strip() or None
        rgb: Literal["refuse", "per-channel"] = "per-channel" if self.per_channel.isChecked() else "refuse"

        def open_known(path: Path) -> "FocalStack":
            pixel_size = numbers.get("pixel_size_um")
            return read(path, axes=axes, rgb=rgb, pixel_size_um=pixel_size).calibrated(**numbers)

        found = files_in(folder, self.files.text() or "*.tif*", output)
        jobs = jobs_of(found, output, open_known, below=folder)
        check_targets(jobs)
        return jobs

    def _layer_jobs(self, output: Path) -> "list[Job]":
        """Jobs of the selected image layers, looked at here, in the thread that may touch them."""
        from focuslab.refocusing.batch import Job

        chosen = [layer for layer in image_layers(self.viewer.layers) if layer in self.viewer.layers.selection]
        if not chosen:
            raise RequestError("Select image layers in the layer list first.")
        jobs = []
        for layer in chosen:
            name = file_name(layer.name.split(".tif")[0].removesuffix(".ome"))
            try:
                typed = {**typed_numbers(layer), **self.known.values}
                axis, colours = chosen_focus_axis(layer), self.per_channel.isChecked()
                opened = _given(read_layer(layer, typed=typed, focus_axis=axis, per_channel=colours).stack)
            except FocusLabError as error:
                opened = _refused(error)
            jobs.append(Job(layer.name, opened, output / f"{name}.ome.tif"))
        places = [place_of(job.target) for job in jobs]
        if twice := sorted(job.target.name for job, place in zip(jobs, places, strict=True) if places.count(place) > 1):
            raise RequestError(f"Several layers would be written as {twice[0]}: rename all but one of them.")
        return jobs

    def _check_open(self, jobs: "list[Job]") -> None:
        """Refuse to write over a file that a layer is drawn from."""
        open_files = {place for layer in self.viewer.layers for place in places_of(layer)}
        if taken := [job.target for job in jobs if place_of(job.target) in open_files]:
            raise RequestError(f"{taken[0]} is open as a layer: choose another folder for the results.")

    def _request(self) -> Any:
        from focuslab.refocusing import RefocusRequest

        move = self.move.currentText()
        if move == SHARPEST:
            return RefocusRequest(sharpest=True, per_frame=self.per_frame.isChecked())
        shift = {"shift_um" if move == SHIFT_UM else "shift_px": self.shift["shift"]}
        return RefocusRequest(per_frame=self.per_frame.isChecked(), **shift)

    def _stepped(self, step: "BatchProgress") -> None:
        from focuslab.refocusing.batch import summary

        if (outcome := step.outcome) is None:
            return
        done = outcome.provenance or {}
        said = [_here(outcome.error)] if outcome.error is not None else [summary(done), *done["notes"]]
        row = QListWidgetItem(f"{outcome.job.name}: " + "\n    ".join(said))
        row.setToolTip(row.text())
        if outcome.error is not None:
            row.setForeground(_WRONG)
        else:
            row.setData(Qt.ItemDataRole.UserRole, str(outcome.job.target))
        self.list.addItem(row)
        self.list.scrollToBottom()

    def _ended(self, outcomes: "list[Outcome]") -> None:
        failed = sum(outcome.error is not None for outcome in outcomes)
        done = f"{len(outcomes) - failed} of {len(outcomes)} images are in {self.output.path}."
        self.about.setText(f"{done} {failed} failed: see the list." if failed else done)

    def _open(self, row: QListWidgetItem) -> None:
        from focuslab.io import read

        if path := row.data(Qt.ItemDataRole.UserRole):
            try:
                open_file(self.viewer, Path(path), read(path))
            except FocusLabError as error:
                show_warning(str(error))

    def _show(self, _: str = "") -> None:
        """Show what the choices need."""
        layers = self.source.currentText() == LAYERS
        self.folder.setEnabled(not layers)
        self.files.setEnabled(not layers)
        self.axes.setEnabled(not layers)
        self.shift.setVisible(self.move.currentText() != SHARPEST)
        self.shift.boxes["shift"].setSuffix(" um" if self.move.currentText() == SHIFT_UM else " px")


def _here(error: FocusLabError) -> str:
    """What an error says, its options by their names in this panel."""
    said = str(error)
    for option, title in _TITLES.items():
        said = said.replace(option, repr(title))
    return said


def _given(stack: Any) -> Callable[[], Any]:
    return lambda: stack


def _refused(error: FocusLabError) -> Callable[[], Any]:
    def refuse() -> Any:
        raise error

    return refuse
