"""A real kube-apiserver and etcd for the tests, and tests that need them.

::

    def test_something(kube: KubeServer) -> None:         # started once per session, emptied before each test
        kube.admin.create(objects.service("web"))
        token = kube.admin.token("kube-system", "lockstep-agent")
        kubeconfig = kube.kubeconfig(token)

No kubelet runs: Nodes and pods are what the tests write. Controllers run only where a test asks for ``controllers``.
"""
