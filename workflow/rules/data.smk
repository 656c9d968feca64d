# Downloads, clean images, the record of their noise, and the images from untrained methods.


# Runs where Snakemake runs: the nodes of a cluster often have no internet access.
rule download:
    output:
        receipt=RUN.pattern("download"),
    log:
        f"{ROOT}/logs/download/{{set}}.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        config=configfile,
    shell:
        "dhl data download {wildcards.set} --configfile {params.config} > {log} 2>&1"


rule data:
    input:
        downloads=downloads_of_part,
    output:
        images=RUN.pattern("images"),
        sheet=RUN.pattern("sheet"),
        skipped=RUN.pattern("skipped"),
    log:
        f"{ROOT}/logs/data/{{part}}.log",
    benchmark:
        RUN.benchmark("images")
    priority: 20  # before the trainings, for the preview
    conda:
        "../../environment.yml"
    threads: CONFIG.threads
    params:
        config=configfile,
        # Groups and names of classes are read from the configuration, after the run.
        settings=lambda w: settings_digest(
            CONFIG.base_seed,
            root_of_listed(w.part),
            CONFIG.parts[w.part].data.model_dump(
                mode="json", exclude={"groups", "class_names"}
            ),
        ),
        files=lambda w: files_digest(CONFIG, w.part),
        code=lambda w: code_digest("dhl.data.prepare", *CONFIG.parts[w.part].data.code),
    shell:
        "dhl data make --part {wildcards.part} --configfile {params.config} > {log} 2>&1"


rule noise:
    input:
        images=RUN.pattern("images"),
    output:
        noise=RUN.pattern("noise"),
    log:
        f"{ROOT}/logs/noise/{{part}}/sigma{{sigma}}.log",
    benchmark:
        RUN.benchmark("noise")
    priority: 20
    conda:
        "../../environment.yml"
    params:
        config=configfile,
        settings=lambda w: settings_digest(
            CONFIG.base_seed, CONFIG.noise, CONFIG.parts[w.part].data.name
        ),
        code=code_digest("dhl.data.noise", *references(CONFIG.noise)),
    shell:
        "dhl noise --part {wildcards.part} --sigma {wildcards.sigma}"
        " --configfile {params.config} > {log} 2>&1"


rule baseline:
    input:
        images=RUN.pattern("images"),
        noise=RUN.pattern("noise"),
    output:
        denoised=RUN.pattern("baseline"),
    log:
        f"{ROOT}/logs/baseline/{{part}}/{{method}}-sigma{{sigma}}/{{shard}}.log",
    benchmark:
        RUN.benchmark("baseline")
    priority: 20
    retries: RETRIES
    conda:
        "../../environment.yml"
    resources:
        last_try=last_try,
        gpu=gpu_of_baseline,
    params:
        config=configfile,
        code=code_of_baseline,
    shell:
        "dhl baseline --part {wildcards.part} --method {wildcards.method}"
        " --sigma {wildcards.sigma} --shard {wildcards.shard} --processes {threads}"
        " --configfile {params.config} > {log} 2>&1"
        " || dhl record-failure --status $? --last {resources.last_try} --log {log} {output}"
