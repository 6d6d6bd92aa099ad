import pytest
from tests.encoder.tiny_models import tiny_checkpoint


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny_checkpoint("bert", tmp_path_factory.mktemp("models") / "tiny-bert")
