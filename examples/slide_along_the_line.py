"""For developers: encode a region once and draw it at many shifts, as the slider of the plugin does."""

import focuslab
from focuslab.refocusing import Engine
from focuslab.refocusing.intensity import measure_map
from focuslab.refocusing.plan import plane_facts
from focuslab.refocusing.sampling import structured_windows
from focuslab.refocusing.tiling import Tile, read_region
from focuslab.samples import sample

stack, _ = sample("filaments_40x")
engine = Engine(focuslab.load_model("default"))

index, optics = (4,), stack.optics()
intensity = measure_map(stack, list(stack.planes()))
facts = plane_facts(structured_windows(stack, index), optics.radius_px(4.0), optics, intensity)
region = read_region(stack, index, Tile(0, 256, 0, 256), engine.halo(facts))

coded = engine.encode(region, facts)
for shift in (-facts.level_px, -4.0, 0.0, 4.0):
    print(f"shift {shift:+5.1f} px: standard deviation {coded.at(shift)[:256, :256].std():.0f} counts")
