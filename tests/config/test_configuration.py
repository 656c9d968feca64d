"""The page about the configuration has every key, and what it says of another noise level holds."""

import pytest
import yaml
from configuration_reference import MEANINGS, PLACES, own_fields, reference

from dhl.config.base import Frozen
from dhl.config.data_sets import DataSet
from dhl.config.parse import parse_config
from dhl.files import PROJECT
from dhl.run.fingerprints import fingerprint
from dhl.run.model_graph import all_models

SHOWN = {model for models in PLACES.values() for model in models}


def test_the_page_is_that_of_the_models():
    assert reference() in (PROJECT / "docs/configuration.md").read_text()


def test_every_model_of_the_configuration_is_on_the_page():
    found, waiting = set(), [Frozen]
    while waiting:
        found |= (more := set(waiting.pop().__subclasses__()))
        waiting += more
    assert {model for model in found if model.__module__.startswith("dhl.")} - {DataSet} == SHOWN


def test_every_meaning_belongs_to_a_key():
    models = {model.__name__: model for model in SHOWN}
    for name, keys in MEANINGS.items():
        assert set(keys) <= set(own_fields(models[name])), name


def with_sigmas(name: str, **more: list[float]):
    """Return a shipped configuration, with more noise levels."""
    content = yaml.safe_load((PROJECT / f"config/{name}.yaml").read_text())
    for part, sigmas in more.items():
        content["parts"][part]["sigmas"] += sigmas
    return parse_config(content, source=name)


@pytest.mark.parametrize("name", ["mini", "smoke"])
def test_another_noise_level_trains_its_own_models_alone(name):
    before, after = with_sigmas(name), with_sigmas(name, classification=[75], segmentation=[75])
    new = set(all_models(after)) - set(all_models(before))
    assert new
    assert all("/sigma75" in key for key in new)
    for key in all_models(before):
        assert fingerprint(before, key) == fingerprint(after, key)
