from bento_service.preparation.sources.imagenet_labels import imagenet_labels, readable_labels


def test_imagenet_has_a_thousand_labels_and_no_two_are_the_same() -> None:
    labels = imagenet_labels()

    assert len(labels) == 1000
    assert len(set(labels)) == 1000
    assert labels[285] == "Egyptian cat"
    assert labels[967] == "espresso"
    assert labels[812] == "space shuttle"


def test_a_label_is_the_first_of_its_synonyms() -> None:
    assert readable_labels(["tabby, tabby cat", "tench"], ["a cat", "a fish"]) == ("tabby", "tench")


def test_a_label_keeps_its_synonyms_where_the_first_is_shared() -> None:
    labels = readable_labels(["maillot", "maillot, tank suit"], ["tights", "a bathing suit"])

    assert labels == ("maillot", "maillot, tank suit")


def test_classes_with_the_same_synonyms_get_a_part_of_their_definition() -> None:
    labels = readable_labels(["crane", "crane"], ["large wading bird of marshes", "lifts heavy objects; has a jib"])

    assert labels == ("crane (large wading bird)", "crane (lifts heavy objects)")
